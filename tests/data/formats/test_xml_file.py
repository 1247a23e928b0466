import pytest

from otadet.data.formats.xml_file import parse_xml
from otadet.errors import UserError


@pytest.mark.parametrize(
    "data",
    [
        "<a>é</a>".encode(),
        b"\xef\xbb\xbf" + "<?xml version='1.0' encoding='utf-8'?><a>é</a>".encode(),
        "<?xml version='1.0' encoding='ISO-8859-1'?><a>é</a>".encode("latin-1"),
        "<?xml version='1.0' encoding='gbk'?><a>é</a>".encode("gbk"),
        "<?xml version='1.0' encoding='utf-16'?><a>é</a>".encode("utf-16"),
        "<?xml version='1.0' encoding='utf-16'?><a>é</a>".encode(),
    ],
    ids=["UTF-8", "BOM", "latin-1", "GBK", "UTF-16", "said to be UTF-16"],
)
def test_encodings(data):
    assert parse_xml("a.xml", data).text == "é"


BOMB = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (BOMB.encode(), "has a document type declaration"),
        (BOMB.encode("utf-16"), "has a document type declaration"),
        (b"<?xml version='1.0' encoding='cp037'?>" + BOMB.encode("cp037"), "has a document type declaration"),
        (b"<a>&b;</a>", "not valid XML, .*undefined entity"),
        (b"", "not valid XML"),
        (b"<a>\n<b>", "not valid XML, perhaps cut short: .*line 2"),
        (b"<a>\xff</a>", "is not in UTF-8 .*at byte 3.*save it in UTF-8"),
        (b"<a>\0</a>", "not valid XML"),
        (b"<?xml version='1.0' encoding='gbk'?><a>\xff\xff</a>", "in its encoding gbk"),
        (b"<?xml version='1.0' encoding='cpx'?><a/>", "in its encoding cpx"),
    ],
)
def test_what_is_no_plain_xml_is_named(data, problem):
    with pytest.raises(UserError, match=rf"(?s)a\.xml: .*{problem}"):
        parse_xml("a.xml", data)


def test_deep_nesting_ends_well():
    assert parse_xml("a.xml", b"<a>" * 100_000 + b"</a>" * 100_000).find("object") is None
