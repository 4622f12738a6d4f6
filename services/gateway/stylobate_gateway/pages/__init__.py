"""Pages for people: the home page in development, problems, and the API to try."""
