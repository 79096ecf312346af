"""nftables behind `cloudroute.ports`: one table of ours, written and read by the `nft` command.

    client ──── the table, the counters, the listener
            ├── ruleset   a Ruleset into the table's objects in nft's JSON
            ├── listing   that JSON back into a Ruleset, with proof, and into counters
            ├── command   nft as a process: one transaction, or one listing
            └── events    changes of the table by others
    objects ─── tables and chains of all programs, for `cloudroute doctor` and `cloudroute verify`

Every command that writes names the table `inet cloudroute` and no other, so nothing foreign can be changed.
"""
