"""Kubernetes behind `cloudroute.ports`: raw JSON comes in, frozen types go out.

The `kubernetes` package gives the configuration, the credentials and the connections (`transport`); its
models, its informer and its leader election are not used: they cost hundreds of megabytes, or hang.

    transport ── one connection pool, one error mapping (`errors`)
                ├── reflector ── list and watch ──▶ stores ──▶ cluster      observed objects
                ├── client ───── writes, each shown in the stores at once   wanted objects
                ├── events       Events for people
                ├── leases       the Lease behind the fence
                └── crds         a check that our two kinds are served

`project` turns JSON into types and back. Import the modules themselves: this package stays empty, so that
the client is loaded only where it is needed.
"""
