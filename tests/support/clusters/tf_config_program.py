"""One program for every task of a `TF_CONFIG`; `python -m support.clusters.tf_config_program DIRECTORY [SPEC]`.

It notes in DIRECTORY whose process came past `AutoDist()`, and trains and saves there.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.strategy import PartitionedPS

tf1 = tf.compat.v1
DIRECTORY = Path(sys.argv[1])

autodist = AutoDist(*sys.argv[2:3], strategy_builder=PartitionedPS(2, min_variable_bytes=0))
own = json.loads(os.environ["TF_CONFIG"])["task"]
(DIRECTORY / f"ran_as_{own['type']}_{own['index']}").touch()
with tf.Graph().as_default(), autodist.scope():
    x = tf1.placeholder(tf.float32, [None, 4])
    w = tf1.get_variable("w", initializer=tf.ones([4, 2]))
    step = tf1.train.get_or_create_global_step()
    train = tf1.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_mean(x @ w), step)
    with tf1.train.MonitoredTrainingSession(
        checkpoint_dir=str(DIRECTORY / "train"),
        scaffold=tf1.train.Scaffold(saver=Saver()),
        save_checkpoint_steps=1,
        save_summaries_steps=None,
        save_summaries_secs=None,
        log_step_count_steps=None,
    ) as session:
        for _ in range(3):
            session.run(train, {x: np.ones([6, 4])})
sys.stdout.write("trained\n")
