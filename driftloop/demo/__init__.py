"""`driftloop demo`: the whole loop before one's eyes. Simulated visitors ask a real service; all that follows is the product's own.

`visitors` sends the traffic and knows the truth, `worker` trains and watches in a process of its own, `story` decides what comes next,
`site` shows it.
"""
