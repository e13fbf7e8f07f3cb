"""The agent: first process of every worker container. It supervises the training processes and stores what they report.

`main` reads the configuration and runs `agent.Agent`. The agent of pod 0 is the lead: it also runs `lead.Lead`, which
gathers the reports of all ranks and commits checkpoints. Everything runs in one asyncio loop; what blocks (the store)
goes to threads.
"""
