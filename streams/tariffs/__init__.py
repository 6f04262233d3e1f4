"""The tariff and settings files that people write: reading them into domain values, saying what is wrong with them and
what they mean, and publishing them as rule books.

`yaml_nodes` and `findings` are the ground; `reader` reads a tariff with the help of one small module per part of the
language (`meters`, `splits`, `conditions`, `prices`, `counting`, `rules`); `settings` reads the settings.
"""
