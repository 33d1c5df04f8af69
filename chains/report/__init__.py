"""The report on an intrinsic: a page, a figure and the data behind both, in one directory."""
