"""Saves on two servers, closes its session, says so, and ends once a line comes in.

Meanwhile the servers are gone or hang. What it saved with lives until the interpreter ends.

`python -m support.clusters.exit_program CLUSTER DIRECTORY KIND`
"""

import json
import sys
from typing import Any

import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
tf1.disable_eager_execution()

CLUSTER, DIRECTORY, KIND = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
TARGET = f"grpc://{CLUSTER['ps'][0]}"


def main() -> Any:
    with tf.Graph().as_default() as graph, graph.container(KIND):
        with tf1.device("/job:ps/task:1"):
            tf1.get_variable("there", [4], use_resource=True)
        with tf1.device("/job:ps/task:0"):
            step = tf1.train.get_or_create_global_step()
        saver = Saver()
        if KIND == "monitored":
            scaffold = tf1.train.Scaffold(saver=saver)
            session = tf1.train.MonitoredTrainingSession(
                TARGET, checkpoint_dir=DIRECTORY, scaffold=scaffold, save_checkpoint_steps=1
            )
            session.run(step)
            session.close()
        else:
            session = tf1.Session(TARGET)
            session.run(tf1.global_variables_initializer())
            saver.save(session, f"{DIRECTORY}/model")
            session.close()
        return session, saver


kept = main()
print("closed", flush=True)
sys.stdin.readline()
