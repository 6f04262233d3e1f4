"""The tariff files that people write: reading, checking, publishing."""
