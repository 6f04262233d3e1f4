"""The contracts: Avro schemas, the check of their compatibility, and the codec between datums and Arrow columns."""
