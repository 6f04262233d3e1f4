"""Rating, splitting, tallying and settling as pure functions over columns: no I/O, no clock."""
