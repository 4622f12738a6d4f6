"""The realtime service: channels over WebSocket, for the SDKs of the Centrifugo client protocol."""
