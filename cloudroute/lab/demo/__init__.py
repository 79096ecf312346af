"""A cluster that outgrows its route tables, in a minute and on this machine alone.

stage      EC2, the Kubernetes API, and two controllers as processes of their own
figures    what is true now, read from EC2 and Kubernetes and not from the controllers
screen     how that looks
story      what happens, act by act
"""

from cloudroute.lab.demo.story import play

__all__ = ["play"]
