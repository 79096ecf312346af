"""nftables, as `cloudroute.ports` wants it: one table of ours, written and read by the `nft` command.

    client ──── the table, the counters, the listener
      ├── ruleset   what the table consists of, as objects of nft's JSON
      ├── listing   that JSON back into a Ruleset, by proof, and into counters
      ├── command   nft as a process: one transaction, or one listing
      └── events    who else has changed the table

Nothing but the table `inet cloudroute` is ever named, so nothing foreign can be touched.
"""
