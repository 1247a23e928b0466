import errno
import io
import os
import socket
import struct
import sys
import threading
import tracemalloc
import warnings
import zlib
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError, features
from PIL.PngImagePlugin import PngInfo

from otadet.data.image_file import shown
from otadet.data.images import UPRIGHT, ReadOptions, check_header, look_at_header, read_image, upright
from otadet.errors import UserError
from tests.helpers.image_sizes import check_image, read_size

RAMP = np.arange(24 * 40, dtype=np.uint16).reshape(24, 40) * 60
GREY = (RAMP >> 8).astype(np.uint8)
COLOR = np.stack((GREY, 255 - GREY, GREY // 2), axis=2)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("pixels", [GREY, RAMP], ids=["8-bit", "16-bit"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_becomes_three_equal_channels(tmp_path, pixels, suffix):
    image = read_image(save(tmp_path / f"grey{suffix}", pixels))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(GREY[..., None], 3, axis=2))


def test_alpha_is_dropped_not_blended(tmp_path):
    rgba = np.dstack((COLOR, np.zeros_like(GREY)))
    np.testing.assert_array_equal(read_image(save(tmp_path / "clear.png", rgba)), COLOR)


def test_palette_images_are_looked_up(tmp_path):
    path = tmp_path / "palette.png"
    Image.fromarray(COLOR).quantize(16).save(path)
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_exif_orientation_is_ignored(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / f"turned{suffix}", COLOR, exif=exif)
    assert read_image(path).shape == (24, 40, 3)
    assert read_size(path) == check_image(path) == (24, 40)


def test_names_with_spaces_and_other_alphabets(tmp_path):
    path = save(tmp_path / "Ångström 图 1.png", COLOR)
    np.testing.assert_array_equal(read_image(path), COLOR)
    assert check_image(path) == (24, 40)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("check", [read_image, check_image])
def test_a_file_cut_short_is_named(tmp_path, suffix, check):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut{suffix}", noise)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=f"cut{suffix}.*truncated"):
        check(path)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("rest", ["", "zeros", "no mark"])
@pytest.mark.parametrize("check", [read_image, check_image])
def test_a_jpeg_without_an_end_is_named_by_every_decoder(tmp_path, monkeypatch, progressive, rest, check):
    whole = noise_jpeg(progressive=progressive)
    half = whole[: len(whole) // 2]
    (tmp_path / "cut.jpg").write_bytes({"": half, "zeros": half + bytes(9000), "no mark": whole[:-2]}[rest])
    # OpenCV before 4.11 returns what is there of it.
    monkeypatch.setattr("otadet.data.decode._decode_opencv", lambda *_: np.zeros((128, 128, 3), np.uint8))
    with pytest.raises(UserError, match=r"cut\.jpg.*truncated"):
        check(tmp_path / "cut.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_bytes_after_the_end_do_no_harm(tmp_path, suffix):
    path = save(tmp_path / f"long{suffix}", COLOR)
    expected = read_image(path)
    path.write_bytes(path.read_bytes() + b"trailer of a phone camera")
    assert check_image(path) == (24, 40)
    assert np.abs(read_image(path).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("check", [read_image, check_image, read_size])
def test_what_is_no_image_is_named(tmp_path, check):
    (tmp_path / "text.png").write_text("this is no picture")
    (tmp_path / "empty.jpg").touch()
    for name, problem in (("text.png", "not an image"), ("empty.jpg", "empty"), ("gone.png", "no such")):
        with pytest.raises(UserError, match=f"{name}.*{problem}"):
            check(tmp_path / name)


def test_float_pixels_are_refused_rather_than_guessed(tmp_path):
    path = save(tmp_path / "float.tif", GREY.astype(np.float32) / 255)
    with pytest.raises(UserError, match=r"float.tif.*32-bit"):
        read_image(path)


ORIENTED = [".jpg", ".png", ".tif", *([".webp"] if features.check("webp") else [])]


@pytest.mark.parametrize("suffix", ORIENTED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_applied_when_that_is_asked_for(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"turned{suffix}", COLOR, exif=exif, quality=100, lossless=True)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert read_size(path) == check_image(path) == (24, 40)
    assert np.abs(read_image(path).astype(int) - COLOR).max() <= 8
    assert read_size(path, UPRIGHT) == check_image(path, UPRIGHT) == expected.shape[:2]
    assert np.abs(read_image(path, UPRIGHT).astype(int) - expected).max() <= 8


def tiff(values: dict[int, int], order: str, big: bool = False, rest: bytes = b"") -> bytes:
    """A TIFF of one strip, raw; values: of its tags, 32 bits each."""
    word, entry = ("Q", "HHQQ") if big else ("I", "HHII")
    start = b"II" if order == "<" else b"MM"
    start += struct.pack(f"{order}HHH{word}", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 8)
    count = struct.pack(order + ("Q" if big else "H"), len(values) + 1)
    place = len(start) + len(count) + struct.calcsize(order + entry) * (len(values) + 1) + struct.calcsize(order + word)
    entries = b""
    for tag, value in sorted({**values, 273: place}.items()):
        field = struct.pack(order + "I", value).ljust(struct.calcsize(order + word), b"\0")
        entries += struct.pack(order + entry[:-1], tag, 4, 1) + field
    return start + count + entries + struct.pack(order + word, 0) + rest


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_kinds_of_tiff(tmp_path, order, big, orientation):
    # 257 and 256: size; 258: bits; 259: compression; 262: grey; 278 and 279: rows and bytes of the strip
    values = {256: 40, 257: 24, 258: 16, 259: 1, 262: 1, 274: orientation, 277: 1, 278: 24, 279: 24 * 40 * 2}
    path = tmp_path / "kind.tif"
    path.write_bytes(tiff(values, order, big, RAMP.astype(f"{order}u2").tobytes()))
    np.testing.assert_array_equal(read_image(path)[..., 0], GREY)
    np.testing.assert_array_equal(read_image(path, UPRIGHT)[..., 0], upright(GREY, orientation))
    assert look_at_header(path).bits == 16


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
def test_16_bits_in_color(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 2**16, (24, 40, 3), dtype=np.uint16)
    path = tmp_path / f"deep{suffix}"
    path.write_bytes(cv2.imencode(suffix, pixels[..., ::-1].copy())[1].tobytes())
    np.testing.assert_array_equal(read_image(path), pixels >> 8)


def test_the_eight_orientations():
    letter = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    turned = [upright(letter, orientation)[..., 0].tolist() for orientation in range(1, 9)]
    assert turned == [
        [[0, 1, 2], [3, 4, 5]],
        [[2, 1, 0], [5, 4, 3]],
        [[5, 4, 3], [2, 1, 0]],
        [[3, 4, 5], [0, 1, 2]],
        [[0, 3], [1, 4], [2, 5]],
        [[3, 0], [4, 1], [5, 2]],
        [[5, 2], [4, 1], [3, 0]],
        [[2, 5], [1, 4], [0, 3]],
    ]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("bits", "expected"), [(8, [1, 128, 255, 255]), (12, [0, 8, 64, 255]), (16, [0, 0, 4, 255])])
def test_bits_of_16_bit_files(tmp_path, suffix, bits, expected):
    values = np.array([[1, 128, 1024, 65535]], np.uint16)
    path = save(tmp_path / f"deep{suffix}", values)
    assert read_image(path, ReadOptions(bits=bits))[0, :, 0].tolist() == expected


def noise_jpeg(**options) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("damage", ["gap", "zeros", "half", "half and a trailer"])
def test_damage_inside_a_jpeg_is_named_and_not_printed(tmp_path, capfd, progressive, damage):
    whole = noise_jpeg(progressive=progressive)
    middle = len(whole) // 2
    path = tmp_path / "damaged.jpg"
    path.write_bytes(
        {
            "gap": whole[:middle] + whole[middle + 2000 :],
            "zeros": whole[:middle] + bytes(2000) + whole[middle + 2000 :],
            "half": whole[:middle] + b"\xff\xd9",
            "half and a trailer": whole[:middle] + b"\xff\xd9 of a camera",
        }[damage]
    )
    with pytest.raises(UserError, match=r"damaged\.jpg.*damaged inside"):
        read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("lacking", ["dup", "pipe"])
def test_damage_is_not_passed_over_for_lack_of_descriptors(tmp_path, monkeypatch, lacking):
    path = tmp_path / "damaged.jpg"
    path.write_bytes(noise_jpeg()[:3000] + b"\xff\xd9")

    def fail(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        for name in ("pipe", "pipe2") if lacking == "pipe" else ("dup",):
            patch.setattr(os, name, fail, raising=False)
        with pytest.raises(UserError, match=r"damaged\.jpg.*Too many open files") as caught:
            read_image(path)
    assert caught.value.__cause__.errno == errno.EMFILE
    with pytest.raises(UserError, match="damaged inside"):
        read_image(path)


@pytest.mark.parametrize("stray", [b"\0\0", b"\0" * 600])
def test_padding_before_the_end_of_a_jpeg_is_no_damage(tmp_path, stray):
    whole = noise_jpeg()
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "padded.jpg").write_bytes(whole[:-2] + stray + whole[-2:])
    np.testing.assert_array_equal(read_image(tmp_path / "padded.jpg"), read_image(tmp_path / "whole.jpg"))


def test_what_others_write_meanwhile_is_not_lost(tmp_path, capfd):
    path = tmp_path / "whole.jpg"
    path.write_bytes(noise_jpeg())
    stop = threading.Event()

    def write() -> None:
        for number in range(200):
            os.write(2, f"line {number}\n".encode())
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not stop.is_set():
        read_image(path)
    thread.join()
    # A line may overtake those that are passed on.
    found = capfd.readouterr().err.split("\n")[:-1]
    assert sorted(found) == sorted(f"line {number}" for number in range(200))


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    content = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize("look", [read_image, check_image, read_size])
def test_the_limit_on_pixels(tmp_path, look):
    path = tmp_path / "many.png"
    path.write_bytes(png_of(1000, 1000))
    with pytest.raises(
        UserError, match=r"many\.png: has 1000 x 1000 pixels, 1,000,000 in all, more than max_pixels 999"
    ):
        look(path, ReadOptions(max_pixels=999_999))
    assert look(path, ReadOptions(max_pixels=1_000_000)) is not None
    path.write_bytes(png_of(8, 8).replace(b"\0\0\0\x08", b"\0\1\0\0"))
    with pytest.raises(UserError, match="more than max_pixels"):
        look(path)
    with pytest.raises(UserError, match=r"65536 x 65536 pixels, but it has only \d+ bytes"):
        look(path, ReadOptions(max_pixels=2**40))


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".tif", ".ppm", ".tga", ".pcx", ".ico"])
def test_the_limit_holds_for_every_format(tmp_path, suffix):
    path = save(tmp_path / f"some{suffix}", COLOR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for look in (read_image, check_image, read_size):
            with pytest.raises(UserError, match=r"some.*more than max_pixels 300"):
                look(path, ReadOptions(max_pixels=300))


def test_more_pixels_than_pillow_allows(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for suffix in (".png", ".bmp", ".tif", ".jpg", ".pcx", ".tga"):
        path = save(tmp_path / f"large{suffix}", COLOR)
        path.write_bytes(path.read_bytes() + b"trailer")  # PNG is Pillow's then
        assert read_image(path).shape == (24, 40, 3)
        assert check_image(path) == (24, 40)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert not recwarn.list


@pytest.mark.parametrize("look", [read_image, check_image, read_size])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_only_regular_files_are_opened(tmp_path, monkeypatch, look):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    os.mkfifo("pipe.png")
    os.symlink("/dev/zero", "zero.png")
    os.mkdir("folder.png")
    os.symlink("loop.png", "loop.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        for name, problem in (
            ("pipe.png", "is a pipe"),
            ("zero.png", "a device"),
            ("socket.png", "socket, not an image"),
            ("folder.png", "is a folder"),
            ("loop.png", "cannot be read"),
            ("x" * 5000 + ".png", "cannot be read: File name too long"),
            ("nul\0.png", "cannot be read"),
            ("surrogate\ud800.png", "cannot be read"),
        ):
            with pytest.raises(UserError, match=problem) as caught:
                look(name)
            assert len(str(caught.value)) < 400
            assert str(caught.value).isprintable()


@pytest.mark.parametrize("look", [read_image, check_image, read_size])
def test_a_part_of_a_png_that_is_longer_than_the_file(tmp_path, look):
    path = save(tmp_path / "long.png", COLOR)
    data = path.read_bytes()
    place = data.index(b"IDAT")
    path.write_bytes(data[: place - 4] + b"\xff\xff\xff\xff" + data[place:])
    with pytest.raises(UserError, match=r"long\.png.*truncated, or damaged inside"):
        look(path)


@pytest.mark.parametrize("look", [read_image, check_image, read_size])
@pytest.mark.parametrize("text", ["large", "damaged"])
def test_texts_in_a_png_are_none_of_our_business(tmp_path, look, text):
    info = PngInfo()
    info.add_text("comment", " " * (5 << 20), zip=True)
    data = save(tmp_path / "text.png", COLOR, pnginfo=info).read_bytes()
    if text == "damaged":
        place = data.index(b"zTXt") + 20
        data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    (tmp_path / "text.png").write_bytes(data)
    with pytest.raises(UnidentifiedImageError if text == "damaged" else ValueError):
        Image.open(tmp_path / "text.png")
    assert look(tmp_path / "text.png") is not None


def test_headers_without_an_end(tmp_path):
    starts = {
        "junk.jpg": b"\xff\xd8\xff\xe0\0\x10",
        "long.jpg": b"\xff\xd8" + b"\xff\xe1\xff\xff".ljust(2**16 + 1, b"\0") * 20,
        "tags.tif": tiff({256: 2**31, 257: 2**31}, "<"),
        # A tag of 512 MB, before the one that says the size.
        "tag.tif": b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 255, 1, 2**29, 8),
        "webp.webp": b"RIFF\0\0\0\x40WEBPVP8X\x0a\0\0\0".ljust(30, b"\xff"),
        "comment.gif": b"GIF89a\x09\0\x09\0\0\0\0!\xfe" + b"\x01a" * 1000,
    }
    for name, start in starts.items():
        (tmp_path / name).write_bytes(start)
        os.truncate(tmp_path / name, 2**30)
        tracemalloc.start()
        with pytest.raises(UserError, match=name):
            read_size(tmp_path / name)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 2**27


def test_a_link_to_an_image_is_followed(tmp_path):
    path = save(tmp_path / "image.png", COLOR)
    (tmp_path / "link.png").symlink_to(path)
    np.testing.assert_array_equal(read_image(tmp_path / "link.png"), COLOR)


def test_a_sparse_file_is_not_read_as_a_whole(tmp_path):
    path = save(tmp_path / "sparse.bmp", COLOR)
    os.truncate(path, 2**40)
    with pytest.raises(UserError, match=r"sparse\.bmp: has 1,099,511,627,776 bytes, too many"):
        read_image(path)


def test_a_format_that_starts_programs_is_none_of_ours(tmp_path):
    path = tmp_path / "script.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="not an image"):
        read_image(path)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux alone")
def test_names_for_messages():
    assert shown(os.fsdecode(b"caf\xe9\x1b[31m\n.png")) == "caf\\xe9\\x1b[31m\\n.png"
    assert shown("人 ü.png") == "人 ü.png"
    assert len(shown("x" * 10_000)) < 250


@pytest.mark.parametrize("size", [0, 2**23])
def test_a_disk_that_fails_is_an_error_of_the_file(tmp_path, monkeypatch, size):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
    with path.open("ab") as file:
        file.write(bytes(size))

    def failing(*args):
        raise OSError(5, "Input/output error")

    class Failing(io.FileIO):
        """Its end cannot be read, or nothing of it."""

        def __init__(self, descriptor, mode, readable=0, **options):
            super().__init__(descriptor, mode, **options)
            self._left = readable

        def read(self, size=-1):
            self._left -= 1
            return super().read(size) if self._left >= 0 else failing()

    monkeypatch.setattr(os, "read", failing)
    message = r"a\.jpg: cannot be read as an image: \[Errno 5\] Input/output error"
    for looks, readable in (((read_image, look_at_header, check_header), 0), ((check_header,), 1)):
        monkeypatch.setattr(os, "fdopen", partial(Failing, readable=readable))
        for look in looks:
            with pytest.raises(UserError, match=message):
                look(path)


def test_files_may_come_in_parts(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.full((20, 30, 3), 9, np.uint8))
    expected, read = read_image(path), os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 100)))
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{'1' * 64}\nsize 1\n",
            "a pointer of Git LFS.*lfs pull",
        ),
        ("\n<!DOCTYPE html>\n<html><body>404</body></html>", "a web page, not an image"),
        ("<HTML>moved</HTML>", "a web page, not an image"),
        ("P9", "not an image, or of a format that"),
    ],
)
def test_what_stands_in_the_place_of_an_image_is_named(tmp_path, text, said):
    path = tmp_path / "a.jpg"
    path.write_text(text)
    for look in (read_image, look_at_header, check_header):
        with pytest.raises(UserError, match=rf"a\.jpg: (is )?{said}"):
            look(path)
