"""Readers, one per format: functions from a file or folder of annotations to `Annotations`.

A reader checks what it reads, since files are untrusted: whatever is in them, it returns arrays that agree with each
other, or raises a `UserError` that names the file and the entry. It opens no image. A new one is a module here with a
function `read_NAME(path, ...) -> Annotations`, and `DetectionDataset(read_NAME(path))` is its data set.
"""
