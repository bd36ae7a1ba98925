"""A parameter-server job as most are written: one script for all roles, with one import of ours.

`python -m support.clusters.one_script_job JOB TASK CLUSTER DIRECTORY`

Worker 0 initializes what has no value, adds one, saves, says so, and trains on until it is killed.
"""

import json
import logging
import sys

import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
logging.basicConfig(level="INFO", stream=sys.stdout, format="logged %(levelname)s %(message)s")

job, task, cluster = sys.argv[1], int(sys.argv[2]), tf.train.ClusterSpec(json.loads(sys.argv[3]))
server = tf.distribute.Server(cluster, job_name=job, task_index=task)
print("ready", flush=True)
if job == "ps":
    server.join()

with tf.Graph().as_default():
    with tf1.device(tf1.train.replica_device_setter(cluster=cluster)):
        table = tf1.get_variable(
            "table", [8, 4], partitioner=tf1.fixed_size_partitioner(2), use_resource=True
        )
        dense = tf1.get_variable("dense", initializer=tf.zeros([3]), use_resource=True)
    train = dense.assign_add(tf.ones([3])).op
    missing = tf1.report_uninitialized_variables()
    saver = Saver(durable=False)
    with tf1.Session(server.target) as session:
        if len(session.run(missing)) > 0:
            session.run(tf1.global_variables_initializer())
        session.run(train)
        saver.save(session, sys.argv[4] + "/model", write_meta_graph=False)
        print("saved", flush=True)
        while True:
            session.run(train)
