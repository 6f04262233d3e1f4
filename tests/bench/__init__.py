"""Speed, measured: `make bench`. Nothing here is asserted; figures depend on the machine."""
