"""RFC 6455 over bytes: the upgrade request and the frames, without any I/O."""
