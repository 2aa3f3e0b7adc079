"""Tools that are operations of an OpenAPI document: HTTP endpoints whose declaration somebody else wrote."""
