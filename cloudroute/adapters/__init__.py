"""The only users of boto3, kubernetes, netlink and nftables: each folder implements one Protocol of `ports`."""
