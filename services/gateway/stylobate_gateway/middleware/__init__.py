"""Pure ASGI layers in front of the routes, outermost first: context, body_limit, edge."""
