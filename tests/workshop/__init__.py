"""The sources themselves, held to what CONTRIBUTING, STYLE and the pages say."""
