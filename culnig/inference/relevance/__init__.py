"""Relevance rules: which parts of a model they apply to (`recognition`), and the rules (`rules`)."""
