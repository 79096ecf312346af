"""EC2, as `cloudroute.ports` wants it: boto3's dicts come in, frozen types go out.

    discover ── which region, which VPC?
    client ──── the ten calls ──┬── budget   a token first, so that AWS never has to throttle us
                                ├── errors   an AWS code says what to do next
                                ├── parse    dicts into types
                                └── memory   own writes, until the API shows them

Import the modules themselves: this package stays empty, so that nobody loads boto3 who does not need it.
"""
