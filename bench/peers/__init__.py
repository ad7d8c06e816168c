"""The same answers by other means, as somebody who knows them well would write it.

They hold on streams in which nothing was lost, every mapping was seen to be made, and every event is legal; the tracker
makes no such assumption.
"""
