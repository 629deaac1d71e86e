"""Faults on purpose: a proxy that breaks connections, a site that can be broken, clients that check, and a checker of
what must hold whatever died.
"""
