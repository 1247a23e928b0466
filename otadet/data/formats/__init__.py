"""Readers, one per format: functions from a file or folder of annotations to `Annotations`.

A reader checks what it reads, since files are untrusted: whatever is in them, it returns arrays that agree with each
other, or raises a `UserError` that names the file and the entry; what it leaves out or repairs it counts. It decodes no
image. A new one is a module here with a function `read_NAME(path, ...) -> Annotations`, whose data set is
`DetectionDataset(read_NAME(path))`, and a function `find_NAME(folder) -> Layout | None` that finds its splits.
"""
