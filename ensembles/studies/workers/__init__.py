"""Many processes measure one study through a folder that they share.

A driver writes the units as tasks; workers hold a task, measure it into a store of their own on the
disk of their machine, and publish that store as one immutable file; whoever asks for results takes
new files into the main store. Nothing but files passes between them, so that any executor that can
start a process can have a study measured.
"""
