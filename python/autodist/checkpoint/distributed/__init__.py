"""Saves and restores variables that lie on several tasks of a cluster.

`docs/clusters.md`, "How the bytes travel", describes the ways. The ops run in a graph and a session
of our own beside the user's, on the same servers. The user's graph is only read. Each module and
package imports only from those below it:

    save_router, restore_router   choose how a saver saves and restores in a session
    router                        finds the tasks of the variables, for both
    restoring                     the restore of variables on several tasks
    sharded_save                  the save in which every task writes a data file of its own
    shared_save                   the save in which tasks write one data file together
    stock_servers                 variables on tasks that have not loaded our ops
    variables                     the variables that a saver reads and restores, and their tasks
    tasks                         the tasks of a session, our own sessions, and runs in the user's
    session_proxy                 the session that TensorFlow's `Saver` gets
"""
