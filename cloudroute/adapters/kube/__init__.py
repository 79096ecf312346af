"""Kubernetes, as `cloudroute.ports` wants it: raw JSON comes in, frozen types go out.

The `kubernetes` package gives the configuration, the credentials and the connections (`transport`); its
models, its informer and its leader election are not used: they cost hundreds of megabytes, or hang.

    transport ── one connection pool, one error mapping (`errors`)
        ├── reflector ── list and watch ──▶ stores ──▶ cluster      what is there
        ├── client ───── writes, each shown in the stores at once   what shall be there
        ├── events       words for people
        ├── leases       the Lease behind the fence
        └── crds         are our two kinds served at all?

`project` turns JSON into types and back. Import the modules themselves: this package stays empty, so that
nobody loads the client who does not need it.
"""
