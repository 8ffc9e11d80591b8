"""A rehearsal: a simulated history of production, one window of traffic a day, played through the real steps of the watch.

It shows what a policy would have done before anyone has to live with it. Nothing of the steps is copied or imitated here; what is
simulated is the traffic, the calendar and the people who label. Begin reading at `rehearsing.py`.
"""
