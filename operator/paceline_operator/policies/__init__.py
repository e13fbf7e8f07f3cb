"""One question per module; `decide` answers it with a value. No I/O, no clock."""
