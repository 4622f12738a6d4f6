"""The state service: state objects with a schema, a status machine, versions and a history."""
