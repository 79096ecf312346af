"""A demo of a cluster that outgrows its route tables, in a minute and on this machine alone.

stage      EC2, the Kubernetes API, and two controllers as processes of their own
figures    the present state, read from EC2 and Kubernetes and not from the controllers
screen     the display
scenario   the phases, one by one
"""

from cloudroute.lab.demo.scenario import play

__all__ = ["play"]
