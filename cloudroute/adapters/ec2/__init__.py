"""EC2 behind `cloudroute.ports`: boto3's dicts come in, frozen types go out.

    discover ── region and VPC
    client ──── the ten calls ──┬── budget   a token first, so that AWS never has to throttle us
                                ├── errors   AWS error codes into `cloudroute.errors`
                                └── parse    dicts into types
    doctor_client ── other calls, of `cloudroute doctor` alone

Import the modules themselves: this package stays empty, so that boto3 is loaded only where it is needed.
"""
