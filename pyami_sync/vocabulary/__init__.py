"""Typed classes over the wire: fields, models, the JSON form, and the catalogue of facts they are generated from."""
