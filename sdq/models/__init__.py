"""From a folder to a model whose modules have roles."""
