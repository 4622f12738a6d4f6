"""Pure ASGI layers in front of the routes, outermost first: context, announced body limit, edge, bodies."""
