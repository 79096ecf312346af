"""The commands `demo` and `lab ...`. They are part of the lab, so that an installation without it has neither."""

from cloudroute.lab.commands import aws, breaks, demo, down, execute, kube, ping, status, up

COMMANDS = tuple(module.COMMAND for module in (demo, up, status, ping, execute, breaks, down, aws, kube))
