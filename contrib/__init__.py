"""Programs that bring the trades of others into a service, each exactly once; README.md says how to run them.

binance.py, coinbase.py and kraken.py take trades of exchanges, over their public WebSockets; kafka_topic.py those of a
topic of Kafka, nats_stream.py those of a stream of NATS. running.py is what all of them have: options, connections that
come again, the replay of a recording. keeper.py gives each trade once, by its number; journal.py keeps in a file which
trade each point is.
"""
