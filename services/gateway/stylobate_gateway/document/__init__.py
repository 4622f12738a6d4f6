"""The OpenAPI 3.1 document: FastAPI's routes and every action, each with all that it may answer."""
