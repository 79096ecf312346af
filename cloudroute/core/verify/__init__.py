"""Decisions of `cloudroute verify`: where to ask, what to ask, what an answer means, and why it is a wrong one.

Nodes, NodeRoutes ──sample──▶ nodes ──questions──▶ Questions ──(pods ask)──▶ answers ──judge──▶ Outcomes ──causes──▶
"""
