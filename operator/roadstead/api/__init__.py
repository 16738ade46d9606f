"""The custom resources as types: the single source of the schema, the defaults and the CEL rules."""
