"""What HTTP answers have in common, whoever gives them: the gateway, the listener, the admin port, the WebSocket's handshake.

``asgi`` holds its shapes and the fields that tell how a limit stands, ``errors`` what a door refuses, ``problem`` the document
of an error (RFC 9457) and the answers around it, ``own_host`` which names are this machine's.
"""
