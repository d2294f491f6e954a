"""The log of a manifest: ordered versions, over a storage. One protocol, several implementations."""
