"""EC2 as AWS documents it: moto, behind a strict layer that adds what moto gets wrong or lacks.

    aws = Aws(route_quota=50)
    vpc = aws.scene.vpc(zones=3)
    node, = aws.scene.launch(vpc.zones[0])
    ec2 = aws.session().client("ec2")              # in process
    with aws.serve() as server: ...                # or over HTTP, for boto3, the aws CLI and Terraform

Read `aws.py` first: it shows the steps of a call. Each other module corrects one part and names its AWS source.
"""

from cloudroute.lab.aws.aws import ROOT_KEY, Aws
from cloudroute.lab.aws.faults import Fault, Faults
from cloudroute.lab.aws.scene import ControlPlane, Machine, Scene, Vpc, Zone
from cloudroute.lab.aws.server import Server
from cloudroute.lab.aws.standalone import serve_forever

__all__ = [
    "ROOT_KEY",
    "Aws",
    "ControlPlane",
    "Fault",
    "Faults",
    "Machine",
    "Scene",
    "Server",
    "Vpc",
    "Zone",
    "serve_forever",
]
