"""What travels on the websocket, without I/O.

Reading order: `codes` (error and close codes), `frames` (encodings and the gateway's messages), `claims` (what a token allows),
`effects` (what the session asks of its driver), `session` (the state machine of one connection), `cursor` (places in a room's
durable events). docs/protocol.md is the same contract for developers of clients.
"""
