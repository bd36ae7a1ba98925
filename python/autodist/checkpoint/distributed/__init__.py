"""Saves and restores whose variables lie on several tasks of a cluster: `docs/clusters.md`, "How the bytes travel".

The ops that do it run in a graph and a session of their own beside the user's, on the same servers. The
user's graph is only read::

    sources     what the `SaveV2` node of a graph reads, and on which task it lies
    placement   where the user's session has put that; user_runs runs ops in it, watched
    tasks       the tasks of a session, and ops that are run on one of them
    liveness    which of them live, however busy they are
    masters     its master, and whether a session of our own sees the user's variables
    channel     the session of our own, watched while it runs; own_sessions opens and ends it
    save_graph  its ops
    plain_tasks, plain_sources
                the same for tasks that have not loaded our ops
    save        the steps of one save
    takers      what a saver restores, and into which variables
    restore_graph, restore
                the ops and the steps of one restore
    visible_values
                whether the user's session sees what was restored
    variables, lacking
                what both need to know of variables and of tasks
    files_plan, files_graph, files_save
                the save in which every task writes a data file of its own
    saver_session, restorer_session, stand_in
                what TensorFlow's `Saver` is given in place of a session
"""
