"""The only users of boto3, kubernetes, netlink and nftables: each folder fulfils one Protocol of `ports`."""
