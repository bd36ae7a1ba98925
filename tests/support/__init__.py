"""What tests share, as a package: `tests/` is on the path of pytest and of the programs that tests start.

ports, specs, strategies      what a cluster or an `AutoDist` is made of
python_programs, processes    programs in processes of their own, and what becomes of them
layouts, kinds                variables in every layout, and of every kind
documents, raised_messages    the documents and the messages of the project
drawn, equivalence, programs  graphs to compare with one node: drawn at random, by model, by idiom
checkpoint, clusters, seed, torture   the programs that the tests of these names start
"""
